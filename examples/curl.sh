#!/bin/sh
# The server asked by curl: sh curl.sh [BASE_URL]. Start it first: python -m llama_bind.server
set -eu
base=${1:-http://localhost:8000/v1}

curl --fail --silent --show-error "$base/chat/completions" -H "Content-Type: application/json" -d '{
  "messages": [{"role": "user", "content": "Give me a joke."}],
  "max_tokens": 48
}'
echo

curl --fail --silent --show-error "$base/chat/completions" -H "Content-Type: application/json" -d '{
  "model": "gpt-3.5-turbo",
  "max_tokens": 48,
  "messages": [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "Who won the world series in 2020?"},
    {"role": "assistant", "content": "The Los Angeles Dodgers won the World Series in 2020."},
    {"role": "user", "content": "Where was it played?"}
  ]
}'
echo
