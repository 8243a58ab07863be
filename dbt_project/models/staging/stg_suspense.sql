with

source as (

    select * from {{ source('lake', 'suspense') }}

),

renamed as (

    select

        -- keys
        day,
        stage,
        record_id,
        leg,
        reason,
        partner,

        -- measures
        duration_ms,
        quantity,

        -- money
        {{ from_e10('at_risk_e10') }} as at_risk,
        currency

    from source

)

select * from renamed
