with

traffic as (

    select * from {{ ref('stg_traffic_hourly') }}
    where {{ near_month('day') }} and day < date '{{ var("month_end") }}'

),

thresholds as (

    select * from {{ ref('stg_threshold') }}

),

quality as (

    select * from {{ ref('quality_by_partner_day') }}

),

routes as (

    select * from {{ ref('margin_by_route') }}

),

active_days as (

    select
        leg,
        partner,
        count(distinct day) as days
    from traffic
    group by all

),

by_hour as (

    select
        day,
        local_hour as hour,
        leg,
        partner,
        destination,
        sum(attempts) as attempts
    from traffic
    group by all

),

-- an hour without traffic to a destination counts as zero on the days on which its partner had any
histories as (

    select
        by_hour.hour,
        by_hour.leg,
        by_hour.partner,
        by_hour.destination,
        any_value(active_days.days) as days,
        list_resize(list(by_hour.attempts), any_value(active_days.days), 0) as attempts
    from by_hour
    inner join active_days
        on by_hour.leg = active_days.leg and by_hour.partner = active_days.partner
    group by all

),

-- no less spread than chance gives to counts: a quiet hour is not a spike at its second call
usual_hours as (

    select
        hour,
        leg,
        partner,
        destination,
        days,
        list_aggregate(attempts, 'median') as usual,
        greatest(
            list_aggregate(attempts, 'mad'),
            0.6745 * sqrt(greatest(list_aggregate(attempts, 'median'), 1))
        ) as spread
    from histories

),

spikes as (

    select
        by_hour.day,
        by_hour.hour,
        'spike' as kind,
        'warning' as severity,
        by_hour.leg,
        by_hour.partner,
        by_hour.destination,
        by_hour.attempts as value,
        usual_hours.usual,
        0.6745 * (by_hour.attempts - usual_hours.usual) / usual_hours.spread as score
    from by_hour
    inner join usual_hours
        on
            by_hour.hour = usual_hours.hour
            and by_hour.leg = usual_hours.leg
            and by_hour.partner = usual_hours.partner
            and by_hour.destination = usual_hours.destination
    inner join thresholds on by_hour.partner = thresholds.partner
    where
        usual_hours.days >= 5
        and by_hour.attempts >= thresholds.spike_records
        and 0.6745 * (by_hour.attempts - usual_hours.usual) / usual_hours.spread
        >= thresholds.spike_score

),

high_risk as (

    select
        traffic.day,
        traffic.local_hour as hour,
        'high_risk' as kind,
        'error' as severity,
        traffic.leg,
        traffic.partner,
        concat(traffic.destination, ' ', traffic.high_risk) as destination,
        sum(traffic.attempts) as value,
        null as usual,
        null as score
    from traffic
    inner join thresholds on traffic.partner = thresholds.partner
    where traffic.high_risk <> ''
    group by all
    having
        sum(traffic.duration_ms) >= 60000 * any_value(thresholds.high_risk_minutes)
        or sum(traffic.attempts) >= any_value(thresholds.spike_records)

),

first_seen as (

    select
        min(traffic.day) as day,
        traffic.leg,
        traffic.partner,
        traffic.destination
    from traffic
    where traffic.destination <> ''
    group by all

),

begun as (

    select
        leg,
        partner,
        min(day) as day
    from traffic
    group by all

),

new_destinations as (

    select
        first_seen.day,
        null as hour,
        'new_destination' as kind,
        'warning' as severity,
        first_seen.leg,
        first_seen.partner,
        first_seen.destination,
        sum(traffic.amount) as value,
        null as usual,
        null as score
    from first_seen
    inner join begun
        on first_seen.leg = begun.leg and first_seen.partner = begun.partner
    inner join traffic
        on
            first_seen.day = traffic.day
            and first_seen.leg = traffic.leg
            and first_seen.partner = traffic.partner
            and first_seen.destination = traffic.destination
    inner join thresholds on first_seen.partner = thresholds.partner
    where first_seen.day > begun.day + 6
    group by all
    having sum(traffic.amount) >= any_value(thresholds.new_destination_value)

),

calm_days as (

    select
        day,
        leg,
        partner,
        sum(duration_ms) as duration_ms,
        sum(duration_ms) / 60000.0 as minutes
    from traffic
    where local_hour < 6 or local_weekday > 5
    group by all

),

usual_calm_days as (

    select
        leg,
        partner,
        isodow(day) > 5 as weekend,
        median(minutes) as minutes,
        count(*) as days
    from calm_days
    group by all

),

calm_jumps as (

    select
        calm_days.day,
        null as hour,
        'calm_jump' as kind,
        'warning' as severity,
        calm_days.leg,
        calm_days.partner,
        '' as destination,
        calm_days.minutes as value,
        usual_calm_days.minutes as usual,
        calm_days.minutes / nullif(usual_calm_days.minutes, 0) as score
    from calm_days
    inner join usual_calm_days
        on
            calm_days.leg = usual_calm_days.leg
            and calm_days.partner = usual_calm_days.partner
            and (isodow(calm_days.day) > 5) = usual_calm_days.weekend
    inner join thresholds on calm_days.partner = thresholds.partner
    where
        usual_calm_days.days >= 3
        and calm_days.duration_ms >= 60000 * thresholds.high_risk_minutes
        and calm_days.minutes > thresholds.calm_jump * usual_calm_days.minutes

),

shifts as (

    select
        quality.day,
        null as hour,
        'asr_shift' as kind,
        'warning' as severity,
        quality.leg,
        quality.partner,
        '' as destination,
        quality.asr as value,
        quality.usual_asr as usual,
        null as score
    from quality
    inner join thresholds on quality.partner = thresholds.partner
    where
        quality.attempts >= thresholds.quality_attempts
        and abs(quality.asr - quality.usual_asr) > thresholds.asr_shift

    union all

    select
        quality.day,
        null as hour,
        'ner_shift' as kind,
        'warning' as severity,
        quality.leg,
        quality.partner,
        '' as destination,
        quality.ner as value,
        quality.usual_ner as usual,
        null as score
    from quality
    inner join thresholds on quality.partner = thresholds.partner
    where
        quality.attempts >= thresholds.quality_attempts
        and abs(quality.ner - quality.usual_ner) > thresholds.ner_shift

    union all

    select
        quality.day,
        null as hour,
        'acd_shift' as kind,
        'warning' as severity,
        quality.leg,
        quality.partner,
        '' as destination,
        quality.acd_s as value,
        quality.usual_acd_s as usual,
        null as score
    from quality
    inner join thresholds on quality.partner = thresholds.partner
    where
        quality.attempts >= thresholds.quality_attempts
        and abs(quality.acd_s - quality.usual_acd_s)
        > thresholds.acd_shift * quality.usual_acd_s

    union all

    select
        quality.day,
        null as hour,
        'short_calls' as kind,
        'warning' as severity,
        quality.leg,
        quality.partner,
        '' as destination,
        quality.short_share as value,
        null as usual,
        null as score
    from quality
    inner join thresholds on quality.partner = thresholds.partner
    where
        quality.attempts >= thresholds.quality_attempts
        and quality.short_share > thresholds.short_share

),

negative_routes as (

    select
        day,
        null as hour,
        'negative_margin' as kind,
        'error' as severity,
        'customer' as leg,
        customer as partner,
        concat(destination, ' via ', supplier) as destination,
        margin as value,
        null as usual,
        null as score
    from routes
    where margin < 0

),

everything as (

    select * from spikes
    union all
    select * from high_risk
    union all
    select * from new_destinations
    union all
    select * from calm_jumps
    union all
    select * from shifts
    union all
    select * from negative_routes

),

final as (

    select

        -- keys
        {{ billing_month() }} as month,
        day,
        cast(hour as bigint) as hour,
        kind,
        severity,
        leg,
        partner,
        destination,

        -- measures
        cast(value as decimal(28, 4)) as value,
        cast(usual as decimal(28, 4)) as usual,
        cast(score as decimal(28, 2)) as score

    from everything
    where {{ in_month('day') }}

)

select * from final
