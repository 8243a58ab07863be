with

source as (

    select * from {{ source('lake', 'partial') }}

),

renamed as (

    select

        -- keys
        day,
        record_id,
        call_record_id

    from source

)

select * from renamed
