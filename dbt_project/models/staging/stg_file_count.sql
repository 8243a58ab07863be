with

source as (

    select * from {{ source('registry', 'file_count') }}

),

renamed as (

    select

        -- keys
        day,
        file_key,
        file,
        source,

        -- measures
        received,
        landed,
        rejected,
        filtered

    from source

)

select * from renamed
