with

source as (

    select * from {{ source('lake', 'record_fate') }}

),

renamed as (

    select

        -- keys
        day,
        landed_day,
        file_key,
        switch,
        fate,

        -- measures
        records,
        duration_ms

    from source

)

select * from renamed
