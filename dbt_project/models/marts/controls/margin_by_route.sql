with

margins as (

    select * from {{ ref('stg_margin_daily') }}
    where {{ in_month('day') }}

),

final as (

    select

        -- keys
        {{ billing_month() }} as month,
        day,
        customer,
        supplier,
        service,
        destination,
        revenue_currency,
        cost_currency,

        -- measures
        records,
        {{ minutes('duration_ms') }} as minutes,

        -- money
        revenue,
        cost,
        home_currency as margin_currency,
        margin,
        cast(
            100 * margin / nullif(if(revenue_currency = home_currency, revenue, null), 0)
            as decimal(18, 2)
        ) as margin_pct

    from margins

)

select * from final
