with

source as (

    select * from {{ source('lake', 'traffic_hourly') }}

),

renamed as (

    select

        -- keys
        day,
        hour,
        local_hour,
        local_weekday,
        leg,
        partner,
        service,
        destination,
        high_risk,
        currency,

        -- measures
        attempts,
        answered,
        user_busy,
        no_answer,
        short_calls,
        duration_ms,

        -- money
        amount

    from source

)

select * from renamed
