with

balance as (

    select * from {{ ref('record_balance') }}

),

final as (

    select

        -- keys
        month,
        day,
        source,

        -- measures
        count(*) as files,
        count(*) filter (where difference <> 0) as files_with_difference,
        cast(sum(received) as bigint) as received,
        cast(sum(rejected) as bigint) as rejected,
        cast(sum(filtered) as bigint) as filtered,
        cast(sum(landed) as bigint) as landed,
        cast(sum(merged) as bigint) as merged,
        cast(sum(duplicates) as bigint) as duplicates,
        cast(sum(suspense) as bigint) as suspense,
        cast(sum(rated) as bigint) as rated,
        cast(sum(own) as bigint) as own,
        cast(sum(difference) as bigint) as difference

    from balance
    group by all

)

select * from final
