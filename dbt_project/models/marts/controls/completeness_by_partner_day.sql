with

trunks as (

    select * from {{ ref('stg_completeness_daily') }}
    where {{ in_month('day') }}

),

usage as (

    select * from {{ ref('stg_usage_daily') }}
    where {{ in_month('day') }} and service = 'voice'

),

thresholds as (

    select * from {{ ref('stg_threshold') }}

),

came as (

    select
        day,
        leg,
        partner,
        cast(sum(counted) as bigint) as counted,
        cast(sum(counted_ms) as bigint) as counted_ms,
        cast(sum(received) filter (where counted is not null) as bigint) as matched,
        cast(sum(received_ms) filter (where counted is not null) as bigint) as matched_ms,
        cast(sum(received) as bigint) as received,
        cast(sum(received_ms) as bigint) as received_ms
    from trunks
    group by all

),

rated as (

    select
        day,
        leg,
        partner,
        currency,
        sum(answered) as rated,
        sum(duration_ms) as rated_ms,
        sum(amount) as amount
    from usage
    group by all

),

-- a partner has one currency a leg as a rule; where it has two, the one with more minutes speaks
priced as (

    select
        day,
        leg,
        partner,
        cast(sum(rated) as bigint) as rated,
        cast(sum(rated_ms) as bigint) as rated_ms,
        arg_max(currency, rated_ms) as currency,
        arg_max(amount, rated_ms) as amount,
        max(rated_ms) as amount_ms
    from rated
    group by all

),

compared as (

    select
        coalesce(came.day, priced.day) as day,
        coalesce(came.leg, priced.leg) as leg,
        coalesce(came.partner, priced.partner) as partner,
        came.counted,
        came.counted_ms,
        came.matched,
        came.matched_ms,
        coalesce(came.received, 0) as received,
        coalesce(came.received_ms, 0) as received_ms,
        coalesce(priced.rated, 0) as rated,
        coalesce(priced.rated_ms, 0) as rated_ms,
        priced.currency,
        priced.amount,
        priced.amount_ms
    from came
    full join priced
        on came.day = priced.day and came.leg = priced.leg and came.partner = priced.partner

),

final as (

    select

        -- keys
        {{ billing_month() }} as month,
        compared.day,
        compared.leg,
        compared.partner,

        -- measures
        compared.counted,
        compared.counted_ms,
        compared.matched,
        compared.matched_ms,
        compared.received,
        compared.received_ms,
        compared.rated,
        compared.rated_ms,
        coalesce(
            greatest(
                abs(compared.counted - compared.matched)
                / nullif(greatest(compared.counted, compared.matched), 0),
                abs(compared.counted_ms - compared.matched_ms)
                / nullif(greatest(compared.counted_ms, compared.matched_ms), 0)
            ) > coalesce(thresholds.counter_share, 0.001),
            false
        ) as outside,

        -- money
        compared.currency,
        cast(compared.amount as decimal(38, 10)) as amount,
        -- what is missing at the day's average price: an estimate, never billed
        cast(
            {{ from_e10(
                to_e10('compared.amount') ~ ' * (compared.counted_ms - compared.matched_ms)'
                ~ ' // nullif(compared.amount_ms, 0)'
            ) }} as decimal(28, 2)
        ) as missing_value

    from compared
    left join thresholds on compared.partner = thresholds.partner

)

select * from final
