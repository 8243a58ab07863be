with

source as (

    select * from {{ source('lake', 'charge') }}

),

renamed as (

    select

        -- keys
        month,
        cycle,
        charge_id,
        partner,
        agreement,
        split_part(agreement, '@', 1) as agreement_id,
        leg,
        kind,
        section,
        rule,

        -- money
        exact_amount,
        coalesce(priced_in, currency) as priced_in,
        amount,
        currency

    from source

)

select * from renamed
