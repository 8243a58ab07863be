with

source as (

    select * from {{ source('lake', 'rated_leg') }}

),

renamed as (

    select

        -- keys
        day,
        record_id,
        {{ file_key('record_id') }} as file_key,
        leg

    from source

)

select * from renamed
