#!/bin/sh
echo "serving $APP_DIR"
httpd -f -p 8000 -h "$APP_DIR"
