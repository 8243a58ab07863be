{# An identity holds in every row; a row where it cannot be told fails. #}
{% test always(model, identity) %}

    select *
    from {{ model }}
    where ({{ identity }}) is not true

{% endtest %}
