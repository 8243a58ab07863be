with

legs as (

    select
        direction,
        currency,
        count(*) as records,
        coalesce(sum(amount), 0) as amount
    from {{ ref('stg_rated_leg') }}
    where {{ in_month('day') }}
    group by all

),

marts as (

    select unnest({{ var('traffic_marts') }}::varchar[]) as mart

),

by_mart as (

    select
        mart,
        direction,
        currency,
        sum(records) as records,
        sum(amount) as amount
    from {{ ref('traffic') }}
    group by all

)

select
    marts.mart,
    coalesce(legs.direction, by_mart.direction) as direction,
    coalesce(legs.currency, by_mart.currency) as currency
from marts
cross join legs
full join by_mart
    on
        marts.mart = by_mart.mart
        and legs.direction = by_mart.direction
        and legs.currency = by_mart.currency
where
    legs.records is distinct from by_mart.records
    or legs.amount is distinct from by_mart.amount
