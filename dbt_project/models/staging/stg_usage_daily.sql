with

source as (

    select * from {{ source('lake', 'usage_daily') }}

),

renamed as (

    select

        -- keys
        day,
        local_day,
        leg,
        service,
        partner,
        agreement,
        split_part(agreement, '@', 1) as agreement_id,
        destination,

        -- measures
        records,
        answered,
        duration_ms,
        quantity,
        billed_units,

        -- money
        fees,
        amount,
        currency

    from source

)

select * from renamed
