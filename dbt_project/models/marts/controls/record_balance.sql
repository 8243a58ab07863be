with

file_counts as (

    select * from {{ ref('stg_file_count') }}
    where {{ in_month('day') }}

),

landed as (

    select * from {{ ref('stg_landed') }}
    where {{ in_month('day') }}

),

xdr as (

    select * from {{ ref('stg_xdr') }}
    where {{ in_month('day') }}

),

suspended as (

    select distinct
        day,
        record_id
    from {{ ref('stg_suspense') }}
    where
        {{ in_month('day') }}
        and stage = 'rating'

),

rated_legs as (

    select * from {{ ref('stg_rated_leg') }}
    where {{ in_month('day') }}

),

own_trunks as (

    select * from {{ ref('stg_own_trunk') }}

),

-- what intake set aside, and why; `union` names once what two tables say
set_aside as (

    select
        record_id,
        'duplicate' as fate
    from {{ ref('stg_duplicate') }}
    where {{ near_month('day') }}

    union distinct

    select
        record_id,
        if(call_record_id is null, 'suspense', 'merged') as fate
    from {{ ref('stg_partial') }}
    where
        {{ near_month('day') }}
        and call_record_id is distinct from record_id

    union distinct

    select
        record_id,
        'suspense' as fate
    from {{ ref('stg_suspense') }}
    where
        {{ near_month('day') }}
        and stage = 'xdr'

),

-- counted on the day on which it landed: a part can lie in another day than its call
set_aside_records as (

    select
        landed.day,
        landed.record_id,
        set_aside.fate
    from set_aside
    inner join landed on set_aside.record_id = landed.record_id

),

rated_records as (

    select distinct
        rated_legs.day,
        rated_legs.record_id
    from rated_legs
    anti join suspended on rated_legs.record_id = suspended.record_id

),

-- told by the trunks and not by the lack of a leg, so that a leg that is lost leaves a gap
own_records as (

    select
        xdr.day,
        xdr.record_id
    from xdr
    left join own_trunks as entry on xdr.in_trunk = entry.trunk
    left join own_trunks as way_out on xdr.out_trunk = way_out.trunk
    anti join suspended on xdr.record_id = suspended.record_id
    where
        (xdr.in_trunk is null or entry.trunk is not null)
        and (xdr.out_trunk is null or way_out.trunk is not null)

),

fates as (

    select
        day,
        record_id,
        fate
    from set_aside_records

    union all

    select
        day,
        record_id,
        'suspense' as fate
    from suspended

    union all

    select
        day,
        record_id,
        'rated' as fate
    from rated_records

    union all

    select
        day,
        record_id,
        'own' as fate
    from own_records

),

fate_counts as (

    select

        -- keys
        day,
        {{ file_key('record_id') }} as file_key,

        -- measures
        count(*) filter (where fate = 'merged') as merged,
        count(*) filter (where fate = 'duplicate') as duplicates,
        count(*) filter (where fate = 'suspense') as suspense,
        count(*) filter (where fate = 'rated') as rated,
        count(*) filter (where fate = 'own') as own

    from fates
    group by all

),

-- records that no file brought stay visible, without a file name
joined as (

    select

        -- keys
        coalesce(file_counts.day, fate_counts.day) as day,
        coalesce(file_counts.file_key, fate_counts.file_key) as file_key,
        file_counts.file,
        file_counts.source,

        -- measures
        coalesce(file_counts.received, 0) as received,
        coalesce(file_counts.rejected, 0) as rejected,
        coalesce(file_counts.filtered, 0) as filtered,
        coalesce(file_counts.landed, 0) as landed,
        coalesce(fate_counts.merged, 0) as merged,
        coalesce(fate_counts.duplicates, 0) as duplicates,
        coalesce(fate_counts.suspense, 0) as suspense,
        coalesce(fate_counts.rated, 0) as rated,
        coalesce(fate_counts.own, 0) as own

    from file_counts
    full join fate_counts
        on
            file_counts.day = fate_counts.day
            and file_counts.file_key = fate_counts.file_key

),

final as (

    select

        -- keys
        {{ billing_month() }} as month,
        day,
        file_key,
        file,
        source,

        -- measures
        received,
        rejected,
        filtered,
        landed,
        merged,
        duplicates,
        suspense,
        rated,
        own,
        received - rejected - filtered - merged - duplicates - suspense - rated - own
            as difference

    from joined

)

select * from final
