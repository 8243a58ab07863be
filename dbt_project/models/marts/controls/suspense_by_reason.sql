with

suspense as (

    select * from {{ ref('stg_suspense') }}
    where {{ in_month('day') }}

),

final as (

    select

        -- keys
        {{ billing_month() }} as month,
        day,
        stage,
        reason,
        leg,
        partner,
        currency,

        -- measures
        count(*) as entries,
        count(distinct record_id) as records,
        cast(sum(duration_ms) as bigint) as duration_ms,
        {{ minutes('sum(duration_ms)') }} as minutes,

        -- money
        cast(sum(at_risk) as decimal(38, 10)) as at_risk,
        count(*) - count(at_risk) as without_estimate

    from suspense
    group by all

)

select * from final
