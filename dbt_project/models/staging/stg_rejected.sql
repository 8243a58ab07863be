with

source as (

    select * from {{ source('lake', 'rejected') }}

),

renamed as (

    select

        -- keys
        day,
        file,
        row

    from source

)

select * from renamed
