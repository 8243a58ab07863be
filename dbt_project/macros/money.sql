{#
    Units of 10^-10 as an exact decimal. Multiplied, because dividing a DECIMAL gives a DOUBLE;
    a sum that does not fit raises an error rather than wrapping.
-#}
{% macro from_e10(units) -%}
    cast({{ units }} as decimal(28, 0)) * cast(0.0000000001 as decimal(10, 10))
{%- endmacro %}

{# An exact amount as units of 10^-10: whole numbers, of which a quotient is one too. -#}
{% macro to_e10(amount) -%}
    cast({{ amount }} * 10000000000 as hugeint)
{%- endmacro %}

{#
    Minutes for reading, rounded half up to three decimals; add milliseconds, never these. A
    thousandth is 60 ms, so that whole numbers do, and no DOUBLE comes between.
-#}
{% macro minutes(duration_ms) -%}
    cast((({{ duration_ms }}) + 30) // 60 as decimal(15, 0)) * cast(0.001 as decimal(3, 3))
{%- endmacro %}
