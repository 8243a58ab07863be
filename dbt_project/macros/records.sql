{# The file of a record: all but the lowest 27 bits of its id, which are the row. -#}
{% macro file_key(record_id) -%}
    {{ record_id }} >> 27
{%- endmacro %}
