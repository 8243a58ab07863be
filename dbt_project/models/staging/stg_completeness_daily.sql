with

source as (

    select * from {{ source('lake', 'completeness_daily') }}

),

renamed as (

    select

        -- keys
        day,
        switch,
        trunk,
        leg,
        partner,

        -- measures
        counted,
        counted_ms,
        received,
        received_ms

    from source

)

select * from renamed
