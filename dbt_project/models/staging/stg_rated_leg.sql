with

source as (

    select * from {{ source('lake', 'rated_leg') }}

),

renamed as (

    select

        -- keys
        day,
        record_id,
        if(leg = 'customer', 'in', 'out') as direction,

        -- money
        coalesce(currency, '') as currency,
        {{ from_e10('amount_e10') }} as amount

    from source

)

select * from renamed
