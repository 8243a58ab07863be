with

source as (

    select * from {{ source('lake', 'charge') }}

),

renamed as (

    select

        -- keys
        month,
        cycle,
        partner,
        agreement,
        split_part(agreement, '@', 1) as agreement_id,
        leg,
        kind,
        section,

        -- money
        exact_amount,
        currency

    from source

)

select * from renamed
