# One image for both processes: compose.yaml starts it once as the gateway and once as the enclave, which differ by their
# command and configuration. No install script of a dependency runs (.npmrc), and nothing here holds a secret.
FROM node:22-bookworm-slim AS build
WORKDIR /kedge
COPY package.json package-lock.json .npmrc tsconfig.base.json tsconfig.json ./
COPY packages packages
# The lock file names no packages for other platforms, which npm ci takes for a fault; npm install keeps to its versions.
RUN npm install --ignore-scripts
RUN npx tsc -b packages/enclave packages/server \
 && for package in enclave server; do cp -r "packages/$package/src/migrations" "packages/$package/dist/migrations"; done
RUN npm prune --omit=dev --ignore-scripts

FROM node:22-bookworm-slim
ENV NODE_ENV=production
WORKDIR /kedge
COPY --from=build /kedge/package.json ./
COPY --from=build /kedge/node_modules node_modules
COPY --from=build /kedge/packages packages
# A PKCS#11 module is mounted, not built in. The folders exist so that new volumes belong to this user.
RUN groupadd --gid 8420 kedge \
 && useradd --uid 8420 --gid kedge --no-create-home --shell /usr/sbin/nologin kedge \
 && install -d -o kedge -g kedge -m 0700 /var/lib/kedge-gateway /var/lib/kedge-enclave /var/lib/kedge-backups
USER kedge
CMD ["node", "packages/server/dist/main.js", "serve"]
