with

source as (

    select * from {{ source('lake', 'rated_leg') }}

),

renamed as (

    select

        -- keys
        day,
        record_id,
        leg

    from source

)

select * from renamed
