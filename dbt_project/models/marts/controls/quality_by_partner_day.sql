with

traffic as (

    select * from {{ ref('stg_traffic_hourly') }}
    where
        {{ near_month('day') }}
        and day < date '{{ var("month_end") }}'
        and service = 'voice'

),

days as (

    select
        day,
        leg,
        partner,
        sum(attempts) as attempts,
        sum(answered) as answered,
        sum(user_busy) as user_busy,
        sum(no_answer) as no_answer,
        sum(short_calls) as short_calls,
        sum(duration_ms) as duration_ms
    from traffic
    group by all

),

ratios as (

    select
        *,
        answered / attempts as asr,
        (answered + user_busy + no_answer) / attempts as ner,
        duration_ms / 1000 / nullif(answered, 0) as acd_s,
        short_calls / nullif(answered, 0) as short_share
    from days

),

usual as (

    select
        leg,
        partner,
        median(asr) as asr,
        median(ner) as ner,
        median(acd_s) as acd_s
    from ratios
    group by all
    having count(*) >= 5

),

final as (

    select

        -- keys
        {{ billing_month() }} as month,
        ratios.day,
        ratios.leg,
        ratios.partner,

        -- measures
        cast(ratios.attempts as bigint) as attempts,
        cast(ratios.answered as bigint) as answered,
        cast(ratios.user_busy as bigint) as user_busy,
        cast(ratios.no_answer as bigint) as no_answer,
        cast(ratios.short_calls as bigint) as short_calls,
        cast(ratios.duration_ms as bigint) as duration_ms,
        cast(ratios.asr as decimal(9, 6)) as asr,
        cast(ratios.ner as decimal(9, 6)) as ner,
        cast(ratios.acd_s as decimal(12, 2)) as acd_s,
        cast(ratios.short_share as decimal(9, 6)) as short_share,
        cast(usual.asr as decimal(9, 6)) as usual_asr,
        cast(usual.ner as decimal(9, 6)) as usual_ner,
        cast(usual.acd_s as decimal(12, 2)) as usual_acd_s

    from ratios
    left join usual on ratios.leg = usual.leg and ratios.partner = usual.partner
    where {{ in_month('ratios.day') }}

)

select * from final
