{# The month that is built, as its marts are sliced: 'YYYY-MM'. -#}
{% macro billing_month() -%}
    '{{ var("month_start")[:7] }}'
{%- endmacro %}

{# Keeps the month's rows. Bare bounds on the column itself: they prune the lake's day slices. -#}
{% macro in_month(column) -%}
    {{ column }} >= date '{{ var("month_start") }}' and {{ column }} < date '{{ var("month_end") }}'
{%- endmacro %}

{# Keeps the month's rows and those within reach of it on either side. -#}
{% macro near_month(column) -%}
    {{ column }} >= date '{{ var("month_start") }}' - {{ var("reach_days") }}
    and {{ column }} < date '{{ var("month_end") }}' + {{ var("reach_days") }}
{%- endmacro %}
