with

source as (

    select * from {{ source('lake', 'landed') }}

),

renamed as (

    select

        -- keys
        day,
        file,
        record_id

    from source

)

select * from renamed
