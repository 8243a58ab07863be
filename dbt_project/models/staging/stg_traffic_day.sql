with

source as (

    select * from {{ source('run', 'traffic_day') }}

),

renamed as (

    select

        -- keys
        mart,
        dimensions,
        day,
        hour,
        partner,
        account,
        agreement,
        service,
        destination,
        country,
        band,
        origin,
        trunk,
        rate,
        direction,
        currency,

        -- measures
        records,
        answered,
        duration_ms,
        quantity,
        billed_units,

        -- money
        fees,
        amount

    from source

)

select * from renamed
