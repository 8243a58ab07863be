with

source as (

    select * from {{ source('lake', 'duplicate') }}

),

renamed as (

    select

        -- keys
        day,
        record_id

    from source

)

select * from renamed
