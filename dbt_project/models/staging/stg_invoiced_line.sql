with

source as (

    select * from {{ source('registry', 'invoiced_line') }}

),

renamed as (

    select

        -- keys
        cycle,
        charge_id,
        state,

        -- money
        amount,
        currency

    from source

)

select * from renamed
