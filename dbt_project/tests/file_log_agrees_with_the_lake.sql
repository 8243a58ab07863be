with

balance as (

    select * from {{ ref('record_balance') }}

),

landed as (

    select
        day,
        file,
        count(*) as landed
    from {{ ref('stg_landed') }}
    where {{ in_month('day') }}
    group by all

),

rejected as (

    select
        day,
        file,
        count(*) as rejected
    from {{ ref('stg_rejected') }}
    where {{ in_month('day') }}
    group by all

),

counts as (

    select
        day,
        file,
        landed,
        rejected,
        0 as landed_in_lake,
        0 as rejected_in_lake
    from balance

    union all

    select
        day,
        file,
        0 as landed,
        0 as rejected,
        landed as landed_in_lake,
        0 as rejected_in_lake
    from landed

    union all

    select
        day,
        file,
        0 as landed,
        0 as rejected,
        0 as landed_in_lake,
        rejected as rejected_in_lake
    from rejected

)

select
    day,
    file,
    sum(landed) as landed,
    sum(landed_in_lake) as landed_in_lake,
    sum(rejected) as rejected,
    sum(rejected_in_lake) as rejected_in_lake
from counts
group by all
having
    sum(landed) <> sum(landed_in_lake)
    or sum(rejected) <> sum(rejected_in_lake)
