"""Products: what runs. Calls that change what runs answer when it is done, with the product as it is then."""

from __future__ import annotations

from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Query

from dockwright.api.auth import Caller, Member, Viewer
from dockwright.api.fields import Cursor, Limit, RowId
from dockwright.api.schemas.products import (
    DeploymentList,
    DeploymentOut,
    InstanceLog,
    ProductChanges,
    ProductIn,
    ProductLogs,
    ProductOut,
    ReleaseList,
    ReleaseOut,
    Rollback,
    Scale,
    Verification,
)
from dockwright.process import Cancel
from dockwright.services import audit, product_settings, products, verify
from dockwright.services.product_settings import NewProduct

router = APIRouter(prefix="/products", tags=["products"])
Tail = Annotated[int, Query(ge=1, le=1000, description="Lines of each instance.")]
log = structlog.get_logger()


def _say(text: str) -> None:
    log.info("product.says", text=text)


def _done(caller: Caller, action: str, product: dict[str, Any], **detail: Any) -> ProductOut:
    audit.write(caller.state, caller, action, "product", product["id"], slug=product["slug"], **detail)
    return ProductOut(**product)


@router.get("")
def list_products(caller: Viewer) -> list[ProductOut]:
    """All of them, with what really runs of each."""
    return [ProductOut(**item) for item in products.listing(caller.state)]


@router.post("", status_code=201)
def create_product(body: ProductIn, caller: Member) -> ProductOut:
    """It does not run yet: POST /products/{id}/start does that."""
    return ProductOut(**product_settings.create(caller.state, NewProduct(**body.model_dump()), caller))


@router.get("/{product_id}")
def get_product(product_id: RowId, caller: Viewer) -> ProductOut:
    return ProductOut(**products.as_dict(caller.state, products.find(caller.state, product_id)))


@router.patch("/{product_id}")
def update_product(product_id: RowId, body: ProductChanges, caller: Member) -> ProductOut:
    """What runs goes on as it is until the next start or restart."""
    return ProductOut(**product_settings.update(caller.state, product_id, body.changes(), caller))


@router.delete("/{product_id}", status_code=204)
def delete_product(product_id: RowId, caller: Member) -> None:
    """With its releases and volumes; 409 while it runs."""
    product_settings.remove(caller.state, product_id, caller)


@router.post("/{product_id}/start")
def start_product(product_id: RowId, caller: Member) -> ProductOut:
    """A new release where its image or environment has changed, else the one that was live last."""
    return _done(caller, "product.start", product_settings.start(caller.state, product_id, Cancel(), _say))


@router.post("/{product_id}/stop")
def stop_product(product_id: RowId, caller: Member) -> ProductOut:
    """Releases, environment and volumes stay."""
    return _done(caller, "product.stop", products.stop(caller.state, product_id, _say))


@router.post("/{product_id}/restart")
def restart_product(product_id: RowId, caller: Member) -> ProductOut:
    """New instances; the old ones go when these are ready. What has changed of its settings takes effect."""
    return _done(caller, "product.restart", product_settings.restart(caller.state, product_id, Cancel(), _say))


@router.post("/{product_id}/scale")
def scale_product(product_id: RowId, body: Scale, caller: Member) -> ProductOut:
    """In so many instances."""
    scaled = products.scale(caller.state, product_id, body.replicas, Cancel(), _say)
    return _done(caller, "product.scale", scaled, replicas=body.replicas)


@router.post("/{product_id}/rollback")
def roll_back_product(product_id: RowId, caller: Member, body: Rollback | None = None) -> ProductOut:
    """An older release live again: its very image and environment, nothing is built."""
    release = body.release if body else None
    rolled_back = products.rollback(caller.state, product_id, Cancel(), _say, to=release)
    return _done(caller, "product.rollback", rolled_back, release=rolled_back["release"])


@router.get("/{product_id}/releases")
def list_releases(product_id: RowId, caller: Viewer) -> ReleaseList:
    """The newest first, each with its deployments."""
    return ReleaseList(items=[ReleaseOut(**item) for item in products.release_listing(caller.state, product_id)])


@router.get("/{product_id}/deployments")
def list_deployments(product_id: RowId, caller: Viewer, limit: Limit = 50, cursor: Cursor = None) -> DeploymentList:
    """Every attempt to put a release live, the newest first."""
    items, next_cursor = product_settings.deployments(caller.state, product_id, limit, cursor)
    return DeploymentList(items=[DeploymentOut(**item) for item in items], next_cursor=next_cursor)


@router.get("/{product_id}/logs")
def get_product_logs(product_id: RowId, caller: Viewer, tail: Tail = 100) -> ProductLogs:
    """The last lines of each instance that runs."""
    found = product_settings.logs(caller.state, product_id, tail)
    return ProductLogs(items=[InstanceLog(**one) for one in found])


@router.get("/{product_id}/verify")
def verify_product(product_id: RowId, caller: Viewer) -> Verification:
    """Does what runs equal the source? 200 with `ok` false where it does not."""
    return Verification(**verify.verify(caller.state, product_id, Cancel()))
