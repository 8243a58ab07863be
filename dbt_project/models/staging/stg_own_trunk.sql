with

source as (

    select * from {{ source('reference', 'own_trunk') }}

),

renamed as (

    select trunk from source

)

select * from renamed
