with

balance as (

    select * from {{ ref('record_balance') }}

),

fates as (

    select

        -- keys
        landed_day as day,
        file_key,

        -- measures
        coalesce(sum(records) filter (where fate = 'landed'), 0) as landed,
        coalesce(sum(records) filter (where fate = 'accepted'), 0) as accepted,
        coalesce(sum(records) filter (where fate in ('duplicate', 'merged', 'incomplete')), 0)
            as set_aside,
        coalesce(sum(records) filter (where fate in ('suspense', 'rated', 'own')), 0) as priced,
        coalesce(sum(duration_ms) filter (where fate = 'landed'), 0) as landed_ms,
        coalesce(sum(duration_ms) filter (where fate = 'accepted'), 0) as accepted_ms,
        coalesce(sum(duration_ms) filter (where fate in ('duplicate', 'merged', 'incomplete')), 0)
            as set_aside_ms,
        coalesce(sum(duration_ms) filter (where fate in ('suspense', 'rated', 'own')), 0)
            as priced_ms

    from {{ ref('stg_record_fate') }}
    where {{ near_month('day') }} and {{ in_month('landed_day') }}
    group by all

),

-- rows of a file have no duration before they land
intake as (

    select
        balance.day,
        balance.file_key,
        balance.source,
        balance.switch,
        '1_intake' as stage,
        balance.received as records_in,
        balance.rejected + balance.filtered + coalesce(fates.landed, 0) as records_out,
        coalesce(fates.landed_ms, 0) as ms_in,
        coalesce(fates.landed_ms, 0) as ms_out
    from balance
    left join fates on balance.day = fates.day and balance.file_key = fates.file_key

),

resolving as (

    select
        balance.day,
        balance.file_key,
        balance.source,
        balance.switch,
        '2_resolving' as stage,
        fates.landed as records_in,
        fates.accepted + fates.set_aside as records_out,
        fates.landed_ms as ms_in,
        fates.accepted_ms + fates.set_aside_ms as ms_out
    from balance
    inner join fates on balance.day = fates.day and balance.file_key = fates.file_key

),

rating as (

    select
        balance.day,
        balance.file_key,
        balance.source,
        balance.switch,
        '3_rating' as stage,
        fates.accepted as records_in,
        fates.priced as records_out,
        fates.accepted_ms as ms_in,
        fates.priced_ms as ms_out
    from balance
    inner join fates on balance.day = fates.day and balance.file_key = fates.file_key

),

stages as (

    select * from intake
    union all
    select * from resolving
    union all
    select * from rating

),

final as (

    select

        -- keys
        {{ billing_month() }} as month,
        day,
        stage,
        file_key,
        source,
        switch,

        -- measures
        cast(records_in as bigint) as records_in,
        cast(records_out as bigint) as records_out,
        cast(records_in - records_out as bigint) as difference,
        cast(ms_in as bigint) as ms_in,
        cast(ms_out as bigint) as ms_out,
        cast(ms_in - ms_out as bigint) as difference_ms

    from stages

)

select * from final
