with

source as (

    select * from {{ source('lake', 'xdr') }}

),

renamed as (

    select

        -- keys
        day,
        record_id,

        -- sides
        in_trunk,
        out_trunk

    from source

)

select * from renamed
