with

source as (

    select * from {{ source('reference', 'threshold') }}

),

renamed as (

    select

        -- keys
        partner,

        -- measures
        spike_score,
        spike_records,
        quality_attempts,
        asr_shift,
        ner_shift,
        acd_shift,
        short_share,
        new_destination_value,
        calm_jump,
        high_risk_minutes,
        counter_share

    from source

)

select * from renamed
