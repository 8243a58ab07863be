{# The columns name one row each, and those of them that `nullable` does not list are present. #}
{% test unique_grain(model, columns, nullable=[]) %}

    {%- set keys = columns | join(", ") %}

    select {{ keys }}
    from {{ model }}
    group by {{ keys }}
    having count(*) > 1

    {% for column in columns if column not in nullable -%}
        union all

        select {{ keys }}
        from {{ model }}
        where {{ column }} is null

    {% endfor -%}
{% endtest %}
