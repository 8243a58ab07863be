with

totals as (

    select
        'usage_daily' as mart,
        leg,
        currency,
        records,
        amount
    from {{ ref('stg_usage_daily') }}
    where {{ in_month('day') }}

    union all

    select
        'traffic_by_partner_day' as mart,
        leg,
        currency,
        records,
        amount
    from {{ ref('traffic_by_partner_day') }}

    union all

    select
        'traffic_by_destination' as mart,
        leg,
        currency,
        records,
        amount
    from {{ ref('traffic_by_destination') }}

    union all

    select
        'margin_by_destination' as mart,
        'customer' as leg,
        currency,
        customer_records,
        revenue
    from {{ ref('margin_by_destination') }}

    union all

    select
        'margin_by_destination' as mart,
        'supplier' as leg,
        currency,
        supplier_records,
        cost
    from {{ ref('margin_by_destination') }}

),

by_mart as (

    select
        mart,
        leg,
        currency,
        sum(records) as records,
        sum(amount) as amount
    from totals
    group by all
    having sum(records) > 0 or sum(amount) <> 0

)

select
    leg,
    currency
from by_mart
group by leg, currency
having
    count(*) <> 4
    or min(records) <> max(records)
    or min(amount) <> max(amount)
