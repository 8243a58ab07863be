with

file_counts as (

    select * from {{ ref('stg_file_count') }}
    where {{ in_month('day') }}

),

-- added up by the days that made them: nothing here is at the grain of records
fate_counts as (

    select

        -- keys
        landed_day as day,
        file_key,
        max(switch) as switch,

        -- measures
        sum(records) filter (where fate = 'merged') as merged,
        sum(records) filter (where fate = 'duplicate') as duplicates,
        sum(records) filter (where fate in ('suspense', 'incomplete')) as suspense,
        sum(records) filter (where fate = 'rated') as rated,
        sum(records) filter (where fate = 'own') as own,
        sum(duration_ms) filter (where fate = 'landed') as landed_ms,
        sum(duration_ms) filter (where fate not in ('landed', 'accepted')) as accounted_ms

    from {{ ref('stg_record_fate') }}
    where {{ near_month('day') }} and {{ in_month('landed_day') }}
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
        fate_counts.switch,

        -- measures
        coalesce(file_counts.received, 0) as received,
        coalesce(file_counts.rejected, 0) as rejected,
        coalesce(file_counts.filtered, 0) as filtered,
        coalesce(file_counts.landed, 0) as landed,
        cast(coalesce(fate_counts.merged, 0) as bigint) as merged,
        cast(coalesce(fate_counts.duplicates, 0) as bigint) as duplicates,
        cast(coalesce(fate_counts.suspense, 0) as bigint) as suspense,
        cast(coalesce(fate_counts.rated, 0) as bigint) as rated,
        cast(coalesce(fate_counts.own, 0) as bigint) as own,
        cast(coalesce(fate_counts.landed_ms, 0) as bigint) as landed_ms,
        cast(coalesce(fate_counts.accounted_ms, 0) as bigint) as accounted_ms

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
        switch,

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
            as difference,
        landed_ms,
        landed_ms - accounted_ms as difference_ms

    from joined

)

select * from final
