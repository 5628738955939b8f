"""generate: a template and its variables become a complete source tree. Sources of other kinds pass unchanged."""

from __future__ import annotations

from dockwright.domain.source import TemplateSource, Tree
from dockwright.sources.render import render_tree, template_names
from dockwright.sources.template import read_template
from dockwright.sources.variables import check_variables
from dockwright.stages.context import StageContext


def generate(ctx: StageContext, tree: Tree) -> Tree:
    """`tree.root` is the template's folder. Raises `InvalidTemplate` and `InvalidVariable`."""
    if not isinstance(tree.source, TemplateSource):
        return tree
    template = read_template(tree.root)
    variables = check_variables(template, tree.source.variables)
    names = template_names(
        variables,
        name=ctx.request.name,
        description=ctx.request.description,
        project_id=ctx.request.project_id,
    )
    root = ctx.make_workspace("generated")
    count = render_tree(template, names, root)
    ctx.log(f"{count} files from the template {template.name}")
    return Tree(
        root=root,
        source=tree.source,
        revision=tree.revision,
        smoke_tests=template.smoke_tests(variables),
    )
