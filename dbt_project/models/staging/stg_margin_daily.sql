with

source as (

    select * from {{ source('lake', 'margin_daily') }}

),

renamed as (

    select

        -- keys
        day,
        customer,
        supplier,
        service,
        destination,
        revenue_currency,
        cost_currency,
        home_currency,

        -- measures
        records,
        duration_ms,

        -- money
        revenue,
        cost,
        margin

    from source

)

select * from renamed
