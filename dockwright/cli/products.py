"""Products: what runs, and what is to run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from dockwright.cli.output import json_option, number, pairs, print_json, say, seconds, table
from dockwright.cli.session import use_cases


def _show(product: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(product)
        return
    where = f" at {product['url']}" if product["status"] == "running" else ""
    say(f"{product['slug']} is {product['status']}{where} (release {product['release']})")


def _said(as_json: bool) -> Callable[[str], None]:
    return (lambda _: None) if as_json else say


@click.command()
@json_option
def products(as_json: bool) -> None:
    """List the products and what really runs of each.

    Example: dockwright products
    """
    rows = use_cases().products()
    if as_json:
        print_json(rows)
    elif not rows:
        say("There are no products yet. A build that deploys makes one: dockwright build PATH")
    else:
        table(
            ("PRODUCT", "STATUS", "RELEASE", "IMAGE", "INSTANCES", "ADDRESS"),
            (
                (
                    one["slug"],
                    one["status"],
                    one["release"],
                    one["image_name"],
                    f"{len(one['instances'])}/{one['replicas']}",
                    one["url"],
                )
                for one in rows
            ),
        )


@click.command(short_help="Put a new release of a product live.")
@click.argument("product")
@click.option("--image", metavar="I", help="Number or name:tag, as `dockwright images` shows it.")
@click.option("--env", metavar="K=V", multiple=True, help="Environment of the app.")
@json_option
def deploy(product: str, image: str | None, env: tuple[str, ...], as_json: bool) -> None:
    """Put a new release live: another image, or the same one with another environment. Nothing is built.

    Example: dockwright deploy support --env LOG_LEVEL=debug
    """
    values = pairs(env, "--env")
    _show(use_cases().deploy(product, _said(as_json), image=image, env=values), as_json)


@click.command()
@click.argument("product")
@json_option
def start(product: str, as_json: bool) -> None:
    """Start the release that was live last.

    Example: dockwright start support
    """
    _show(use_cases().start(product, _said(as_json)), as_json)


@click.command()
@click.argument("product")
@json_option
def stop(product: str, as_json: bool) -> None:
    """Stop a product. Its releases, environment and volumes stay.

    Example: dockwright stop support
    """
    _show(use_cases().stop(product, _said(as_json)), as_json)


@click.command()
@click.argument("product")
@click.argument("replicas", metavar="N", type=click.IntRange(min=1))
@json_option
def scale(product: str, replicas: int, as_json: bool) -> None:
    """Run a product in so many instances.

    Example: dockwright scale support 3
    """
    _show(use_cases().scale(product, replicas, _said(as_json)), as_json)


@click.command()
@click.argument("product")
@json_option
def releases(product: str, as_json: bool) -> None:
    """List a product's releases, the newest first.

    Example: dockwright releases support
    """
    rows = use_cases().releases(product)
    if as_json:
        print_json(rows)
        return
    table(
        ("RELEASE", "", "IMAGE", "COMMIT", "CREATED", "HEALTHY AFTER", "FAILED REQUESTS"),
        (
            (
                one["number"],
                "live" if one["is_live"] else "failed" if _last(one["deployments"], "status") == "failed" else "",
                one["image_name"],
                (one["revision"] or "")[:12],
                one["created_at"].strftime("%Y-%m-%d %H:%M"),
                _healthy_after(one["deployments"]),
                _last(one["deployments"], "failed_requests"),
            )
            for one in rows
        ),
    )


@click.command(short_help="Put an older release live again.")
@click.argument("product")
@click.option("--to", metavar="N", type=number, help="The release; the one before the present unless set.")
@json_option
def rollback(product: str, to: int | None, as_json: bool) -> None:
    """Put an older release live again: its very image and environment, nothing is built.

    Example: dockwright rollback support --to 3
    """
    _show(use_cases().rollback(product, _said(as_json), to=to), as_json)


def _last(deployments: list[dict[str, Any]], name: str) -> Any:
    return deployments[-1][name] if deployments else None


def _healthy_after(deployments: list[dict[str, Any]]) -> str:
    took = _last(deployments, "seconds_to_healthy")
    return "" if took is None else seconds(took)
