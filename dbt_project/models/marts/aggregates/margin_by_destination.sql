with

usage as (

    select * from {{ ref('stg_usage_daily') }}
    where {{ in_month('day') }}

),

legs as (

    select

        -- keys
        day,
        service,
        destination,
        currency,

        -- measures
        sum(if(leg = 'customer', records, 0)) as customer_records,
        sum(if(leg = 'customer', duration_ms, 0)) as customer_duration_ms,
        sum(if(leg = 'supplier', records, 0)) as supplier_records,
        sum(if(leg = 'supplier', duration_ms, 0)) as supplier_duration_ms,

        -- money
        coalesce(sum(amount) filter (where leg = 'customer'), 0) as revenue,
        coalesce(sum(amount) filter (where leg = 'supplier'), 0) as cost

    from usage
    group by all

),

final as (

    select

        -- keys
        {{ billing_month() }} as month,
        day,
        service,
        destination,
        currency,

        -- measures
        cast(customer_records as bigint) as customer_records,
        {{ minutes('customer_duration_ms') }} as customer_minutes,
        cast(supplier_records as bigint) as supplier_records,
        {{ minutes('supplier_duration_ms') }} as supplier_minutes,

        -- money
        revenue,
        cost,
        cast(revenue - cost as decimal(38, 10)) as margin

    from legs

)

select * from final
