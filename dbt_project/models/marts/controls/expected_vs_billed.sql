with

charges as (

    select * from {{ ref('stg_charge') }}
    where
        month = {{ billing_month() }}
        -- what a named rule prices instead keeps its rated amount in rows of its own
        and kind in ('usage', 'replaced')
        and section = 'usage'

),

cycles as (

    select * from {{ ref('stg_cycle') }}
    where month = {{ billing_month() }}

),

usage as (

    select * from {{ ref('stg_usage_daily') }}
    where {{ near_month('day') }}

),

-- a partner without a cycle is held against the calendar month, so that what nobody bills shows
partners_without_cycle as (

    select distinct usage.partner
    from usage
    anti join cycles on usage.partner = cycles.partner

),

periods as (

    select
        cycle,
        partner,
        start_day,
        end_day
    from cycles

    union all

    select
        'none' as cycle,
        partner,
        date '{{ var("month_start") }}' as start_day,
        date '{{ var("month_end") }}' as end_day
    from partners_without_cycle

),

expected as (

    select

        -- keys
        periods.partner,
        periods.cycle,
        usage.leg,
        usage.agreement_id as agreement,
        usage.currency,

        -- money
        sum(usage.amount) as amount

    from usage
    inner join periods
        on
            usage.partner = periods.partner
            and usage.local_day >= periods.start_day
            and usage.local_day < periods.end_day
    group by all

),

billed as (

    select

        -- keys
        partner,
        cycle,
        leg,
        agreement_id as agreement,
        priced_in as currency,

        -- money
        sum(exact_amount) as amount

    from charges
    group by all

),

final as (

    select

        -- keys
        {{ billing_month() }} as month,
        coalesce(expected.partner, billed.partner) as partner,
        coalesce(expected.cycle, billed.cycle) as cycle,
        coalesce(expected.leg, billed.leg) as leg,
        coalesce(expected.agreement, billed.agreement) as agreement,
        coalesce(expected.currency, billed.currency) as currency,

        -- money
        cast(coalesce(expected.amount, 0) as decimal(38, 10)) as expected,
        cast(coalesce(billed.amount, 0) as decimal(38, 10)) as billed,
        cast(coalesce(billed.amount, 0) - coalesce(expected.amount, 0) as decimal(38, 10))
            as difference

    from expected
    full join billed
        on
            expected.partner = billed.partner
            and expected.cycle = billed.cycle
            and expected.leg = billed.leg
            and expected.agreement = billed.agreement
            and expected.currency = billed.currency

)

select * from final
