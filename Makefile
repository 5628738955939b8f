.PHONY: setup test demo stop

setup: ## Python environment, Docker engine, HAProxy, base images: what is missing of them
	@scripts/setup.sh

test: ## Set up, and pass the checks and the tests
	@scripts/setup.sh --dev
	@scripts/check.sh

demo: ## Build, test, deploy and verify a customer-support assistant, and ask it something
	@scripts/setup.sh
	@.venv/bin/python scripts/demo.py

stop: ## End all that was started here
	@scripts/stop.sh
