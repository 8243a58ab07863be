with

charges as (

    select * from {{ ref('stg_charge') }}
    where
        month = {{ billing_month() }}
        -- what documents do not show: usage that a rule prices instead, attempts without a price
        and kind <> 'replaced'
        and rule <> 'not_chargeable'

),

lines as (

    select * from {{ ref('stg_invoiced_line') }}

),

-- a leg that we issue no document for (their invoice bills it) has none of its charges on any
documented as (

    select
        charges.cycle,
        charges.leg,
        any_value(lines.state) as state
    from charges
    inner join lines on charges.cycle = lines.cycle and charges.charge_id = lines.charge_id
    group by all

),

matched as (

    select
        charges.*,
        lines.charge_id is not null as shown,
        lines.currency as billed_currency,
        lines.amount as billed
    from charges
    left join lines on charges.cycle = lines.cycle and charges.charge_id = lines.charge_id

),

summed as (

    select
        cycle,
        partner,
        leg,
        currency,
        count(*) as charges,
        sum(amount) as charged,
        count(*) filter (where shown) as invoiced_charges,
        coalesce(sum(billed) filter (where billed_currency = currency), 0) as invoiced,
        coalesce(
            sum(billed - amount) filter (where shown and billed_currency = currency), 0
        ) as difference
    from matched
    group by all

),

final as (

    select

        -- keys
        {{ billing_month() }} as month,
        summed.partner,
        summed.cycle,
        summed.leg,
        summed.currency,
        coalesce(documented.state, 'none') as state,

        -- measures
        cast(summed.charges as bigint) as charges,
        cast(summed.invoiced_charges as bigint) as invoiced_charges,

        -- money
        cast(summed.charged as decimal(38, 10)) as charged,
        cast(summed.invoiced as decimal(38, 10)) as invoiced,
        cast(summed.difference as decimal(38, 10)) as difference

    from summed
    left join documented
        on summed.cycle = documented.cycle and summed.leg = documented.leg

)

select * from final
