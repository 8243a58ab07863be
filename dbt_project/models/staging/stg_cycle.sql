with

source as (

    select * from {{ source('registry', 'cycle') }}

),

renamed as (

    select

        -- keys
        cycle,
        partner,
        month,

        -- period
        start_day,
        end_day

    from source

)

select * from renamed
