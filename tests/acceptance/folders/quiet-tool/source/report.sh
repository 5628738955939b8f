#!/bin/sh
wc -l /data/*.csv
