"""Products: what runs. Calls that change what runs answer when it is done, with the product as it is then."""

from __future__ import annotations

from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Query

from dockwright.api.auth import Caller, Member, Viewer
from dockwright.api.fields import Called, Cursor, Limit, RowId
from dockwright.api.one_thread import OneThreadRoute
from dockwright.api.schemas.products import (
    ChangedProduct,
    Deploy,
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

router = APIRouter(prefix="/products", tags=["products"], route_class=OneThreadRoute)
Tail = Annotated[int, Query(ge=1, le=1000, description="Lines of each instance.")]
log = structlog.get_logger()


class _Said(list[str]):
    """What a change of what runs has to say on its way."""

    def __call__(self, text: str) -> None:
        log.info("product.says", text=text)
        self.append(text)


def _done(caller: Caller, action: str, product: dict[str, Any], said: _Said, **detail: Any) -> ChangedProduct:
    audit.write(caller.state, caller, action, "product", product["id"], slug=product["slug"], **detail)
    return ChangedProduct(**product, log=said)


@router.get("")
def list_products(caller: Viewer) -> list[ProductOut]:
    """All of them, with what really runs of each."""
    return [ProductOut(**item) for item in products.listing(caller.state)]


@router.get("/named")
def find_product(name: Called, caller: Viewer) -> ProductOut:
    """The one that is called so; a 404 names those there are."""
    return ProductOut(**products.as_dict(caller.state, products.find(caller.state, name)))


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
def start_product(product_id: RowId, caller: Member) -> ChangedProduct:
    """A new release where its image or environment has changed, else the one that was live last."""
    said = _Said()
    return _done(caller, "product.start", product_settings.start(caller.state, product_id, Cancel(), said), said)


@router.post("/{product_id}/stop")
def stop_product(product_id: RowId, caller: Member) -> ChangedProduct:
    """Releases, environment and volumes stay."""
    said = _Said()
    return _done(caller, "product.stop", products.stop(caller.state, product_id, said), said)


@router.post("/{product_id}/restart")
def restart_product(product_id: RowId, caller: Member) -> ChangedProduct:
    """New instances; the old ones go when these are ready. What has changed of its settings takes effect."""
    said = _Said()
    return _done(caller, "product.restart", product_settings.restart(caller.state, product_id, Cancel(), said), said)


@router.post("/{product_id}/deploy")
def deploy_product(product_id: RowId, body: Deploy, caller: Member) -> ChangedProduct:
    """A new release at once: of another image, or of the same with another environment. It stays as it was if it fails.

    Nothing is built.
    """
    said = _Said()
    deployed = products.deploy(caller.state, product_id, Cancel(), said, image=body.image, env=body.env_vars)
    return _done(caller, "product.deploy", deployed, said, release=deployed["release"])


@router.post("/{product_id}/scale")
def scale_product(product_id: RowId, body: Scale, caller: Member) -> ChangedProduct:
    """In so many instances."""
    said = _Said()
    scaled = products.scale(caller.state, product_id, body.replicas, Cancel(), said)
    return _done(caller, "product.scale", scaled, said, replicas=body.replicas)


@router.post("/{product_id}/rollback")
def roll_back_product(product_id: RowId, caller: Member, body: Rollback | None = None) -> ChangedProduct:
    """An older release live again: its very image and environment, nothing is built."""
    said = _Said()
    release = body.release if body else None
    rolled_back = products.rollback(caller.state, product_id, Cancel(), said, to=release)
    return _done(caller, "product.rollback", rolled_back, said, release=rolled_back["release"])


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
