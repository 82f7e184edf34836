FROM node:24-slim AS build
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
COPY clients clients
RUN npm ci
COPY . .
RUN npm run build && npm ci --omit=dev --ignore-scripts

FROM node:24-slim
WORKDIR /app
COPY --from=build /build/package.json ./
COPY --from=build /build/node_modules node_modules
COPY --from=build /build/proto proto
COPY --from=build /build/dist dist
RUN mkdir -p /var/lib/daybook && chown node:node /var/lib/daybook
# The default store is ./data/daybook.db: mount a volume at /var/lib/daybook to keep it.
WORKDIR /var/lib/daybook
# One start leaves what V8 compiled beside the code, where later ones only read it. The cache belongs to a user: the one who runs the image.
RUN mkdir /app/dist/.compile-cache && chown node /app/dist/.compile-cache \
  && su node -c "DAYBOOK__STORAGE__PATH=/tmp/first/daybook.db timeout --preserve-status 10 /app/dist/cli/daybook.js start" \
  && chown -R root /app/dist/.compile-cache && chmod -R a+rX /app/dist/.compile-cache && rm -r /tmp/first
USER node
ENV NODE_ENV=production
# The API listens on 127.0.0.1:4310, for containers of the same pod; health is for everybody.
EXPOSE 4311
STOPSIGNAL SIGTERM
ENTRYPOINT ["/app/dist/cli/daybook.js"]
CMD ["start"]
