{#
    Units of 10^-10 as an exact decimal. Multiplied, because dividing a DECIMAL gives a DOUBLE;
    a sum that does not fit raises an error rather than wrapping.
-#}
{% macro from_e10(units) -%}
    cast({{ units }} as decimal(28, 0)) * cast(0.0000000001 as decimal(10, 10))
{%- endmacro %}

{# Minutes for reading, rounded to three decimals; add milliseconds, never these. -#}
{% macro minutes(duration_ms) -%}
    cast({{ duration_ms }} / 60000 as decimal(18, 3))
{%- endmacro %}
