"""Images that builds produced."""

from __future__ import annotations

from fastapi import APIRouter

from dockwright.api.auth import Member, Viewer
from dockwright.api.fields import Called, RowId
from dockwright.api.one_thread import OneThreadRoute
from dockwright.api.schemas.products import ImageDetail, ImageOut, RemovedImage
from dockwright.services import audit, images

router = APIRouter(prefix="/images", tags=["images"], route_class=OneThreadRoute)


@router.get("")
def list_images(caller: Viewer) -> list[ImageOut]:
    """All of them, the newest first."""
    return [ImageOut(**item) for item in images.listing(caller.state)]


@router.get("/named")
def find_image(name: Called, caller: Viewer) -> ImageDetail:
    """By `name:tag`, by `name`, whose newest it is then, or by its number."""
    return ImageDetail(**images.show(caller.state, name))


@router.get("/{image_id}")
def get_image(image_id: RowId, caller: Viewer) -> ImageDetail:
    return ImageDetail(**images.show(caller.state, str(image_id)))


@router.delete("/{image_id}")
def delete_image(image_id: RowId, caller: Member) -> RemovedImage:
    """From the engine too; 409 while a release or a product needs it."""
    removed = images.remove(caller.state, str(image_id))
    audit.write(caller.state, caller, "image.remove", "image", image_id, name=f"{removed['name']}:{removed['tag']}")
    return RemovedImage(**removed)
