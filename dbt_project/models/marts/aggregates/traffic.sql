with

days as (

    -- the run hands over the days of its month alone
    select * from {{ ref('stg_traffic_day') }}

),

totals as (

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
        sum(records) as records,
        sum(answered) as answered,
        sum(duration_ms) as duration_ms,
        sum(quantity) as quantity,
        sum(billed_units) as billed_units,

        -- money
        sum(fees) as fees,
        sum(amount) as amount

    from days
    group by all

),

final as (

    select

        -- keys
        {{ billing_month() }} as month,
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
        cast(records as bigint) as records,
        cast(answered as bigint) as answered,
        cast(duration_ms as bigint) as duration_ms,
        {{ minutes('duration_ms') }} as minutes,
        cast(quantity as bigint) as quantity,
        cast(billed_units as bigint) as billed_units,

        -- money
        fees,
        amount

    from totals

)

select * from final
